"""Where jobs leave pictures: a `storage` of folders (`posix`), or of objects (`s3`).

`places` says where each job's are, `placing` which folder a new one gets, `job_files` what a job
leaves behind to be rebuilt from, `scratch` is work space.
"""
