"""A Git server on loopback: git's own http-backend behind a small HTTP server. Everybody on this machine may read and
push."""
