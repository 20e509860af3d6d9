"""The demonstration: a simulated region served as a static STAC catalogue, taken through the whole stack, and a contact sheet of it."""
