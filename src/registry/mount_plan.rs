use std::collections::{BTreeMap, BTreeSet};

use crate::base::{Descriptor, Digest};

/// What one repository of a registry still needs, and what it is known to have.
#[derive(Debug, Clone, Default)]
pub(super) struct Needs {
    /// Number of the repository in the push.
    pub(super) repository: usize,
    /// Blobs of manifests that are not there.
    pub(super) blobs: Vec<Descriptor>,
    /// Blobs of manifests that are there: the registry vouches for them.
    pub(super) present: BTreeSet<Digest>,
}

/// One blob at one registry: sent at most once, mounted everywhere else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BlobJob {
    pub(super) blob: Descriptor,
    /// A repository that has it already and can be mounted from.
    pub(super) holder: Option<usize>,
    /// Repositories that need it; without a holder the first one gets it, and the others mount from there.
    pub(super) wanted_by: Vec<usize>,
}

/// Plans how blobs get into the repositories of one registry. Pure; large blobs come first, so that the longest transfer
/// is not what everybody waits for at the end.
pub(super) fn plan(needs: &[Needs]) -> Vec<BlobJob> {
    let mut jobs: BTreeMap<Digest, BlobJob> = BTreeMap::new();
    for need in needs {
        for blob in need.blobs.iter().filter(|blob| !need.present.contains(&blob.digest)) {
            let job = jobs.entry(blob.digest).or_insert_with(|| BlobJob {
                blob: blob.clone(),
                holder: needs.iter().find(|other| other.present.contains(&blob.digest)).map(|other| other.repository),
                wanted_by: Vec::new(),
            });
            if !job.wanted_by.contains(&need.repository) {
                job.wanted_by.push(need.repository);
            }
        }
    }
    let mut jobs: Vec<BlobJob> = jobs.into_values().collect();
    jobs.sort_by(|one, other| other.blob.size.cmp(&one.blob.size).then(one.blob.digest.cmp(&other.blob.digest)));
    jobs
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn blob(number: u8) -> Descriptor {
        Descriptor::new("application/octet-stream", Digest::of([number]), u64::from(number) * 100)
    }

    fn needs(repository: usize, blobs: &[u8], present: &[u8]) -> Needs {
        Needs {
            repository,
            blobs: blobs.iter().map(|number| blob(*number)).collect(),
            present: present.iter().map(|number| blob(*number).digest).collect(),
        }
    }

    #[test]
    fn a_shared_blob_is_one_job_and_large_ones_come_first() {
        let jobs = plan(&[needs(0, &[9, 1], &[]), needs(1, &[9, 2, 9], &[]), needs(2, &[3], &[2])]);
        let shown: Vec<(u64, Option<usize>, Vec<usize>)> =
            jobs.iter().map(|job| (job.blob.size, job.holder, job.wanted_by.clone())).collect();
        assert_eq!(
            shown,
            [(900, None, vec![0, 1]), (300, None, vec![2]), (200, Some(2), vec![1]), (100, None, vec![0])]
        );
    }

    proptest! {
        #[test]
        fn every_need_is_met_once(rows in prop::collection::vec((prop::collection::vec(0_u8..12, 0..8), prop::collection::vec(0_u8..12, 0..4)), 0..6)) {
            let all: Vec<Needs> = rows.iter().enumerate().map(|(number, (blobs, present))| needs(number, blobs, present)).collect();
            let jobs = plan(&all);
            for need in &all {
                for blob in &need.blobs {
                    let meeting = jobs.iter().filter(|job| job.blob == *blob && job.wanted_by.contains(&need.repository)).count();
                    prop_assert_eq!(meeting, usize::from(!need.present.contains(&blob.digest)));
                }
            }
            for job in &jobs {
                prop_assert!(!job.wanted_by.is_empty());
                prop_assert!(job.holder.is_none_or(|holder| all[holder].present.contains(&job.blob.digest)));
            }
        }
    }
}
