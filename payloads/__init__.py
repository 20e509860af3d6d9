"""Ready-to-post payloads with the variables each needs; `README.md` lists them."""
