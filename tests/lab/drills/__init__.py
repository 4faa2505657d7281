"""What is tried on the lab's platform, a module a drill; `test_lab.py` tells them as one story."""
