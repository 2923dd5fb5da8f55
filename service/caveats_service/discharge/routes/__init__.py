"""The third party's endpoints, and the pages where people sign in and approve."""
