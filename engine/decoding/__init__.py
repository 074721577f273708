"""Pictures and videos from outside, opened safely and turned into sRGB pixels."""
