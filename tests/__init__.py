"""A package, so that a distribution that ships a package of this name cannot hide it from processes that tests start."""
