"""The proxy: HTTP/1.1 and 1.0 from clients to the instances of apps, request by request."""
