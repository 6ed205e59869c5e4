"""The process with the GPU: claims runs and jobs and carries them out."""
