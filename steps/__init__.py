"""The entry points of `MLproject`, one module each; what they share is in `steps.pipeline`."""
