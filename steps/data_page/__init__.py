"""The page about the data: columns, target rates and drift, as one HTML file."""
