"""Job frameworks: what fails for good in one becomes a letter, and a letter is put back to work in it.

Each module imports its framework; none of them is imported by anything else in the package.
"""
