"""What the steps share: data, evaluation, candidates, export and registry, once for all engines."""
