"""Ways to spread one model over the ranks of a site. Models know nothing of them."""
