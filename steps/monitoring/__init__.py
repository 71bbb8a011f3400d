"""What `monitor` looks at: a window of the prediction log against what the champion came from."""
