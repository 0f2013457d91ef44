"""What all benchmarks share: the machine's facts, child processes, peers, open-loop load, figures and the table."""
