"""The process that is the apps' parent: starts them, keeps what they print, tells how they end, and decides nothing."""
