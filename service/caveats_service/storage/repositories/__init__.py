"""One repository a table, each with its queries. The only SQL of the service."""
