"""The registry's AMP client, used by drone, router and deployctl."""
