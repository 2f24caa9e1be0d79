"""What the zygote finds before it forks."""
