"""What statements read and write as their tables grow, what that costs, and the index that mends it."""
