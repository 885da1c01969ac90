"""What is resident on the device, who owns each byte, and why it moved."""
