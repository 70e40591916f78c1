import { killRounds } from './rounds.js';

killRounds('tcp');
