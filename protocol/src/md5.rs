//! MD5, for the SASL mechanism `DIGEST-MD5` alone.
//!
//! It is broken as a hash that others may choose the input of, and serves here only because
//! ZooKeeper's servers speak no other mechanism with passwords.

/// A hash under way. What it has taken in is wiped with it.
pub(crate) struct Md5 {
    state: [u32; 4],
    block: [u8; 64],
    /// How many bytes of `block` are taken. Less than 64 between calls.
    filled: usize,
    /// In bytes.
    len: u64,
}

impl Md5 {
    pub(crate) fn new() -> Self {
        Self {
            state: [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476],
            block: [0; 64],
            filled: 0,
            len: 0,
        }
    }

    /// Takes in more.
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.len = self.len.wrapping_add(1);
            self.push(*byte);
        }
    }

    /// The hash of all that was taken in.
    pub(crate) fn finish(mut self) -> [u8; 16] {
        let bits = self.len.wrapping_mul(8);
        self.push(0x80);
        while self.filled != 56 {
            self.push(0);
        }
        bits.to_le_bytes()
            .into_iter()
            .for_each(|byte| self.push(byte));
        let mut hash = [0; 16];
        for (bytes, word) in hash.chunks_exact_mut(4).zip(self.state) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        hash
    }

    fn push(&mut self, byte: u8) {
        if let Some(place) = self.block.get_mut(self.filled) {
            *place = byte;
        }
        self.filled += 1;
        if self.filled == self.block.len() {
            self.filled = 0;
            self.compress();
        }
    }

    fn compress(&mut self) {
        let mut words = [0_u32; 16];
        for (word, bytes) in words.iter_mut().zip(self.block.chunks_exact(4)) {
            *word = u32::from_le_bytes(std::array::from_fn(|at| bytes.get(at).map_or(0, |b| *b)));
        }
        let [mut a, mut b, mut c, mut d] = self.state;
        for (round, constant) in CONSTANTS.iter().enumerate() {
            let step = round % 16;
            let (mix, index, shifts) = match round / 16 {
                0 => ((b & c) | (!b & d), step, [7, 12, 17, 22]),
                1 => ((d & b) | (!d & c), 5 * step + 1, [5, 9, 14, 20]),
                2 => (b ^ c ^ d, 3 * step + 5, [4, 11, 16, 23]),
                _ => (c ^ (b | !d), 7 * step, [6, 10, 15, 21]),
            };
            let word = words.get(index % 16).map_or(0, |word| *word);
            let shift = shifts.get(round % 4).map_or(0, |shift| *shift);
            let sum = a
                .wrapping_add(mix)
                .wrapping_add(*constant)
                .wrapping_add(word);
            (a, b, c, d) = (d, b.wrapping_add(sum.rotate_left(shift)), b, c);
        }
        for (state, add) in self.state.iter_mut().zip([a, b, c, d]) {
            *state = state.wrapping_add(add);
        }
        words.fill(0);
        std::hint::black_box(&words);
    }
}

impl Drop for Md5 {
    fn drop(&mut self) {
        // The hint keeps the compiler from leaving out a write that nobody reads.
        self.block.fill(0);
        self.state.fill(0);
        std::hint::black_box((&self.block, &self.state));
    }
}

/// The sines of the numbers from 1 to 64, as the standard has them.
const CONSTANTS: [u32; 64] = [
    0xd76a_a478,
    0xe8c7_b756,
    0x2420_70db,
    0xc1bd_ceee,
    0xf57c_0faf,
    0x4787_c62a,
    0xa830_4613,
    0xfd46_9501,
    0x6980_98d8,
    0x8b44_f7af,
    0xffff_5bb1,
    0x895c_d7be,
    0x6b90_1122,
    0xfd98_7193,
    0xa679_438e,
    0x49b4_0821,
    0xf61e_2562,
    0xc040_b340,
    0x265e_5a51,
    0xe9b6_c7aa,
    0xd62f_105d,
    0x0244_1453,
    0xd8a1_e681,
    0xe7d3_fbc8,
    0x21e1_cde6,
    0xc337_07d6,
    0xf4d5_0d87,
    0x455a_14ed,
    0xa9e3_e905,
    0xfcef_a3f8,
    0x676f_02d9,
    0x8d2a_4c8a,
    0xfffa_3942,
    0x8771_f681,
    0x6d9d_6122,
    0xfde5_380c,
    0xa4be_ea44,
    0x4bde_cfa9,
    0xf6bb_4b60,
    0xbebf_bc70,
    0x289b_7ec6,
    0xeaa1_27fa,
    0xd4ef_3085,
    0x0488_1d05,
    0xd9d4_d039,
    0xe6db_99e5,
    0x1fa2_7cf8,
    0xc4ac_5665,
    0xf429_2244,
    0x432a_ff97,
    0xab94_23a7,
    0xfc93_a039,
    0x655b_59c3,
    0x8f0c_cc92,
    0xffef_f47d,
    0x8584_5dd1,
    0x6fa8_7e4f,
    0xfe2c_e6e0,
    0xa301_4314,
    0x4e08_11a1,
    0xf753_7e82,
    0xbd3a_f235,
    0x2ad7_d2bb,
    0xeb86_d391,
];

#[cfg(test)]
mod tests {
    use super::Md5;

    fn hex(message: &[u8]) -> String {
        let mut md5 = Md5::new();
        md5.update(message);
        md5.finish().map(|byte| format!("{byte:02x}")).concat()
    }

    #[test]
    fn it_agrees_with_the_standard() {
        let rows = [
            ("", "d41d8cd98f00b204e9800998ecf8427e"),
            ("a", "0cc175b9c0f1b6a831c399e269772661"),
            ("abc", "900150983cd24fb0d6963f7d28e17f72"),
            ("message digest", "f96b697d7cb7938d525a2f31aaf161d0"),
            (
                "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789",
                "d174ab98d277d9f5a5611c2c9f419d9f",
            ),
            (
                "12345678901234567890123456789012345678901234567890123456789012345678901234567890",
                "57edf4a22be3c955ac49da2e2107b67a",
            ),
        ];
        for (message, hash) in rows {
            assert_eq!(hex(message.as_bytes()), hash, "{message:?}");
        }
        assert_eq!(
            hex(&vec![b'a'; 1_000_000]),
            "7707d6ae4e027c70eea2a935c2296f21"
        );
    }

    /// Around the lengths at which the padding takes another block.
    #[test]
    fn pieces_are_hashed_as_one() {
        let message = [b'x'; 130];
        for len in 0..message.len() {
            let (head, tail) = message[..len].split_at(len / 3);
            let mut md5 = Md5::new();
            md5.update(head);
            md5.update(tail);
            let pieces = md5.finish().map(|byte| format!("{byte:02x}")).concat();
            assert_eq!(pieces, hex(&message[..len]), "{len}");
        }
    }
}
