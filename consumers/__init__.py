"""The five consumers: one handler each, and the loop that drives them."""
