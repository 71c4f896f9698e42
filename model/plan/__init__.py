"""Whether a model fits a machine, where its parts go and how fast it will be, before any weight is read."""
