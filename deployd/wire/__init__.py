"""AMP commands and codecs, one file a conversation; no behaviour."""
