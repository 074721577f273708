"""Pictures in, MP4, GIF and WebP out."""
