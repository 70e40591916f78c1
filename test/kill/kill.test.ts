import { killRounds, producerKillRounds } from './rounds.js';

killRounds('tcp');
producerKillRounds('tcp');
