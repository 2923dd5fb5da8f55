"""The service: issues, renews, verifies and revokes tokens over HTTP. Uses the library; the client never imports it."""
