"""What the command lines of `caveats` and `caveats-service` share: one rule for both programs.

Knows terminals, streams and click; knows no command, no token and no service. It imports neither the library nor the
packages of the two programs, so that help and completion need none of them.
"""
