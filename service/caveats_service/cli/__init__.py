"""The console script `caveats-service`: what an operator does on the machine itself. Knows no HTTP."""
