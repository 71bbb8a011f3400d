"""Training engines and the interface they implement."""
