"""The whole program with AWS's half alone applied: what is not AWS's is answered for by an echo."""
