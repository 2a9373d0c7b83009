"""Speed and memory, each figure a ratio to something measured in the same run; `make bench` prints them."""
