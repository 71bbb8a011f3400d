"""Entry points, parameters, terminal output, processes, memory, locks and errors."""
