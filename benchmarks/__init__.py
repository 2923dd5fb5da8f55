"""What this library and service cost, measured beside their peers in the same run. `make bench` prints the table."""
