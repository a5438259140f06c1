"""Who may ask, how much, and when: keys, limits, the queue. Rule: a key never gets more than its limits."""
