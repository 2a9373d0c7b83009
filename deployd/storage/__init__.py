"""Durable state behind the interfaces of deployd.interfaces."""
