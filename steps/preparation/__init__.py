"""The preparation of splits for the engines: fitted once, the same for all."""
