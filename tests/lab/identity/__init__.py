"""A stand-in for EKS Pod Identity: pods of service accounts that the emulated EKS knows get credentials of their role.

https://docs.aws.amazon.com/eks/latest/userguide/pod-id-how-it-works.html
"""
