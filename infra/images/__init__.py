"""Images: Dockerfiles, and what runs while they are built."""
