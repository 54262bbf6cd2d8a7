"""What the book's programs exchange with ours: policy files, and the replay buffer behind a BaseManager."""
