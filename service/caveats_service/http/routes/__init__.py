"""The endpoints, by what they are about. Each says who may call it, and does one thing."""
