"""OpenAI's protocol for texts: bodies, replies, models. The texts are those of `/chat`."""
