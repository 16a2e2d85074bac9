"""What scripts/bench is made of: servers, mounts, lines, chart."""
