"""The product's core: what was heard, what the model said of it, what we decided and delivered."""
