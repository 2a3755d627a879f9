"""The page of a model: one HTML file that asks for nothing outside itself, made of sections.

`markup` makes HTML in which a text can only be a text, `data` what scripts read, `document` the
whole.
"""
