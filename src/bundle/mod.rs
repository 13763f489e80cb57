//! One offline file that holds a release.
