"""Entry points, parameters, terminal output, processes, locks and errors."""
