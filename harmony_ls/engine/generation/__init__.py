"""One pass of the model: what is asked, how tokens are decoded and chosen, and what ends it."""
