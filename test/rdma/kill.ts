import { killRounds, producerKillRounds } from '../kill/rounds.js';

killRounds('verbs');
producerKillRounds('verbs');
