//! What a caller needs: channels, deadlines, retry, watch resume.
